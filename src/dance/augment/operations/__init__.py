"""The augmentation operations, one file each, with the constants of Zhao & Bilen 2021b."""
