"""Formats of medical imaging, read through SimpleITK: DICOM, NRRD, MetaImage and NIfTI."""

from xctvol.sources.itk.dicom import open_series
from xctvol.sources.itk.volumes import Packed, open_image

__all__ = ["Packed", "open_image", "open_series"]
