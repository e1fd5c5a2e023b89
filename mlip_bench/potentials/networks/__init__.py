"""What families of networks share: graphs, training, prediction, and kernels for a CPU."""
