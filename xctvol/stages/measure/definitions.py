"""What each column means, as written into measure.json beside the tables."""

__all__ = ["DEFINITIONS"]

DEFINITIONS = {
    "axes": "z, y, x; voxel (0, 0, 0) has its centre at 0 um",
    "region": "connected voxels of one material; numbered by the first voxel in raster order, as "
    "skimage.measure.label does; label 0 is background",
    "outside": "voxels outside the volume belong to no material: its faces count as surface",
    "fraction": "voxels of the material / all voxels of the volume",
    "bbox": "voxels, half open",
    "centroid": "mean voxel position",
    "inertia": "principal moments of inertia of the voxel centres, divided by their number, as "
    "regionprops; largest first",
    "axis": "full axis lengths of the ellipsoid with these moments, as regionprops",
    "equivalent_diameter": "diameter of the ball of equal volume",
    "extent": "voxels / voxels of the bounding box",
    "euler_number": "objects - tunnels + cavities of the closed voxels (26-connected object), "
    "whatever the connectivity of regions, as regionprops",
    "surface": "Crofton formula, 13 directions, weights by spherical Voronoi cells "
    "(Lehmann and Legland 2012)",
    "surface_mc": "area of the marching-cubes mesh of scikit-image at level 0.5",
    "sphericity": "surface of the ball of equal volume / surface",
    "perimeter": "scikit-image regionprops perimeter, summed over the 8-connected regions of a "
    "slice; in um only where voxels are square in y and x",
    "interface": "voxel faces between two materials; exact, but about 1.5 times a smooth surface",
    "percolates": "one region touches both end faces of the volume along the axis",
}
