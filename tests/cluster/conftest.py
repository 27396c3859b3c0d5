"""The services for the tests of this folder."""

from tests.cluster.fixtures import real_services

__all__ = ["real_services"]
