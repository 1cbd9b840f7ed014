"""What each column means, as written into measure.json beside the tables."""

__all__ = ["DEFINITIONS"]

DEFINITIONS = {
    "axes": "z, y, x; voxel (0, 0, 0) has its centre at 0 um",
    "region": "connected voxels of one material; numbered by the first voxel in raster order, as "
    "skimage.measure.label does; label 0 is background; regions below min_volume_um3 have no "
    "number, row or count, but their voxels count for their material",
    "outside": "voxels outside the volume belong to no material: its faces count as surface",
    "fraction": "voxels of the material / all voxels of the volume",
    "tissue_fraction": "voxels of the material / voxels of all materials of the tissue",
    "surface_density": "surface of the material / volume of the tissue",
    "largest_region_fraction": "voxels of the largest region / voxels of the material",
    "percolating_fraction": "voxels of regions that touch both end faces of the volume along the "
    "axis / voxels of the material",
    "connectivity_density": "(1 - Euler number corrected for edges) / volume: cells of 2 x 2 x 2 "
    "voxels count where all of them lie in the volume, which equals the correction by the Euler "
    "numbers of its faces, edges and corners (Odgaard and Gundersen 1993); the number of "
    "connections only where the material is one region without cavities",
    "bbox": "voxels, half open",
    "touches": "whether the bounding box reaches that face of the volume, or any of them (border)",
    "centroid": "mean voxel position",
    "inertia": "principal moments of inertia of the voxel centres, divided by their number, as "
    "regionprops; largest first",
    "axis": "full axis lengths of the ellipsoid with these moments, as regionprops",
    "orientation": "unit vector of the major axis; its longest component is positive",
    "equivalent_diameter": "diameter of the ball of equal volume",
    "extent": "voxels / voxels of the bounding box",
    "euler_number": "objects - tunnels + cavities of the closed voxels (26-connected object), "
    "whatever the connectivity of regions, as regionprops",
    "surface": "Crofton formula, 13 directions, weights by spherical Voronoi cells "
    "(Lehmann and Legland 2012); of interfaces, pairs of voxels of both materials",
    "surface_mc": "area of the marching-cubes mesh of scikit-image at level 0.5",
    "sphericity": "surface of the ball of equal volume / surface",
    "intensity": "grey values as they are stored in the volume; the standard deviation is that of "
    "the population",
    "perimeter": "scikit-image regionprops perimeter, summed over the 8-connected regions of a "
    "slice; in um only where voxels are square in y and x",
    "faces": "voxel faces between two materials across z, y and x; their area is exact, but about "
    "1.5 times that of a smooth surface",
}
