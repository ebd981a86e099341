"""The napari plugin: the only package that imports Qt and napari. Layers are views; the session is the document."""
