"""What any job made before is not made again. Imports no torch and no store."""
