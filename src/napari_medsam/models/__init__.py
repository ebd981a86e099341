"""Models behind one seam. The only package that may import torch, and only when a model is loaded."""
