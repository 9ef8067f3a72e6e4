"""Images: where they lie, how they are decoded once, and how batches are made of them.

`locate` says which form of a data set a folder holds (standard library only); one module per
form reads it; `cache` keeps the decoded pixels; `dataset.load` puts these together; `loader`
makes augmented batches.
"""
