"""Importing this package registers every environment id with Gymnasium."""
