"""Every way in: one module for each kind of source, and the landing zone of sources that grow."""
