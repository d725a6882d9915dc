"""What only a GPU needs: fused kernels, dense layers, matrix products, CUDA graphs, random numbers that stay there."""
