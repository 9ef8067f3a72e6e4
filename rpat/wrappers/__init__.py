"""What stacks on any method, one file each; found by the name of its knobs in `rpat.config`."""

from rpat.config import RunConfig
from rpat.methods.base import Method, implementation


def build(config: RunConfig) -> Method:
    """Return the run's method with its wrappers around it, innermost first."""
    built: Method = implementation("rpat.methods", type(config.method))(config.method, config)
    for knobs in config.wrappers:
        built = implementation("rpat.wrappers", type(knobs))(knobs, config, built)
    return built
