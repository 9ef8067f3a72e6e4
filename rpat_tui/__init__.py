"""The console: compose, queue, watch and compare runs. It never imports torch."""
