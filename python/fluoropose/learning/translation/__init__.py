"""Style translation (Zhou et al. 2021, 2.2): X-rays that look like artificial radiographs, and the reverse."""
