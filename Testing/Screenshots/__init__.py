"""Pictures of the panel in its important states, made in Testing/SlicerHost."""
