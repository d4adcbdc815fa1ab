"""When a new model is trained, on which rows, and whether it replaces the champion."""
