"""Public tables as the files that people have, through their whole life."""
