"""Contact sheets, as an image and as HTML."""
