"""A learned reward on one page: along episodes, over the states, and compared with the true reward."""
