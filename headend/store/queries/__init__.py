"""Named SQL, one file per repository."""
