"""Learning to order by following the gradient through a differentiable supply chain."""
