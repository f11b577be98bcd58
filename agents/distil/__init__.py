"""Small policies that learn from a large one."""
