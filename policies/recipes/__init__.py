"""Methods from papers: each file reads like the method box of its paper."""
