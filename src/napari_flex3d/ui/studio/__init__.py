"""The mesh studio: segments painted on the map, their joints, the mesh that follows, and a motion to try."""
