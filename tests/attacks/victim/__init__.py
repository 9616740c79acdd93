"""A program's own package, already imported when the hostile file comes. Whatever runs, rings."""
