"""The shape of decision regions around rows: slices, curvature, distances, normals, and what two models share."""
