"""Models: one file of weights and a card; slices in, labels out.

Train, evaluate and segment all predict through `xctvol.model.predict.Predictor`, so a score says
what a segmentation will be.
"""
