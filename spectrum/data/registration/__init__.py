"""The spatial steps of a recipe: head motion, slice timing, MNI152, and one interpolation.

Every step takes arrays and affines and gives arrays and numbers; nothing is read or written. The
order, and why: motion is estimated on the volumes as scanned, since interpolation in time damps
the motion that it finds (Power et al. 2017, PLoS ONE 12:e0182939); slice timing is corrected
next, while each plane still holds what was acquired at one time; motion and normalisation are then
applied together (``resampling``), so that no voxel is interpolated twice in space. fMRIPrep has
the same order (Esteban et al. 2019, Nature Methods 16:111).

``places`` says how points map, ``motion`` and ``normalisation`` estimate, ``slice_timing`` and
``resampling`` apply, ``template`` knows MNI152, ``itk`` is SimpleITK's doorway. Not here: the
recipe that puts the steps together, masks and smoothing (``spectrum.data.recipe``, ``grids``).
"""
