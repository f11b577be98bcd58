"""Only finds the packages; everything else stands in pyproject.toml.

The four top-level folders are the sub-packages of one import package, `workgym`. A list kept by
hand would silently drop a forgotten one from the wheel.
"""

from setuptools import find_namespace_packages, setup

FOLDERS = ("envs", "services", "agents", "factory")
found = find_namespace_packages(include=[f"{folder}{deeper}" for folder in FOLDERS for deeper in ("", ".*")])

setup(package_dir={"workgym": "."}, packages=["workgym", *(f"workgym.{name}" for name in found)])
