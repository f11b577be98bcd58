"""Only finds the packages; everything else stands in pyproject.toml.

The four top-level folders are the sub-packages of one import package, `workgym`. A list kept by
hand would silently drop a forgotten one from the wheel.
"""

from setuptools import find_namespace_packages, setup

FOLDERS = ("envs", "services", "agents", "factory")


def packages(root: str = ".") -> list[str]:
    """Every package of the wheel. A folder of data is one too, so that no `__init__.py` can be forgotten.

    `workgym` itself is left out: as a package at the root it would pull `setup.py` and the project files in.
    """
    wanted = [f"{folder}{deeper}" for folder in FOLDERS for deeper in ("", ".*")]
    found = find_namespace_packages(root, include=wanted, exclude=["*.__pycache__"])
    return [f"workgym.{name}" for name in found]


if __name__ == "__main__":
    setup(package_dir={"workgym": "."}, packages=packages())
