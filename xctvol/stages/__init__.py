"""The verbs: convert, train, evaluate, segment, measure, report. None imports another.

They meet only through products on disk. A verb's name is that of its module here, of its command
and of its function in Python; the folder keeps `xctvol.convert`, the function, apart from the
module that holds it.
"""
