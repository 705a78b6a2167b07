"""What the project is made of, and whether it is what was tested: images by digest, and a bill of materials."""
