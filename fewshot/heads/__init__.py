"""Classifiers on vectors and on what a model says: label-name priors, neighbours, any of scikit-learn's."""
