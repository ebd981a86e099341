from ..contract.fakes import BoxFake


def test_x():
    assert BoxFake
