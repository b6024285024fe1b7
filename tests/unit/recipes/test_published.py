"""Published numbers: what the tables say of each other, of their source and of known errors."""

from __future__ import annotations

import pytest

from dance.core.errors import ConfigError
from dance.data.known import KNOWN
from dance.methods import METHODS
from dance.networks import NETWORKS
from dance.recipes.published import Number, names, table

PAPER = [f"dance_table_{number}" for number in range(1, 7)]


def mean(name: str, **where: str | int) -> float:
    (found,) = table(name).select(**where)
    return found.mean


def cells(numbers: list[Number], *keys: str) -> dict[tuple[str | int, ...], tuple[float, object]]:
    return {tuple(n.where[key] for key in keys): (n.mean, n.std) for n in numbers}


@pytest.mark.parametrize("name", names())
def test_says_where_it_is_from_and_of_what(name: str) -> None:
    found = table(name)
    assert found.paper.rstrip(")")[-4:].isdigit()
    assert all((found.cite, found.quantity, found.protocol, found.statistic))
    assert found.numbers
    for number in found.numbers:
        assert number.where.get("data", "cifar10") in KNOWN
        assert number.where.get("method", "dm") in {*METHODS.names(), "whole", "idc_i"}
        assert number.where.get("network", "convnet") in NETWORKS.names()
        assert number.where.get("ipc", 1) in (1, 10, 20, 50, "all")
        assert number.mean > 0
        if "accuracy" in found.quantity:
            assert number.mean < 100
            assert number.std is None or number.std < 5
    known = {number.where.get("method") for number in found.numbers}
    assert set(found.origins) <= known


def test_the_tables_of_the_paper_have_all_their_cells() -> None:
    """Empty cells of Tables 1, 2 and 4 are those that the paper leaves empty."""
    methods = {n.where["method"] for n in table("dance_table_1").numbers} - {"whole"}
    assert len(methods) == 14
    data = ("fashion_mnist", "cifar10", "cifar100", "tiny_imagenet")
    every = {(m, d, i) for m in methods for d in data for i in (1, 10, 50)}
    tiny = {(m, "tiny_imagenet", i) for m in ("k_center", "idc", "cafe", "cafe_dsa") for i in
            (1, 10, 50)}  # fmt: skip
    fashion = {(m, "fashion_mnist", i) for m in ("mtt", "idm", "datadam") for i in (1, 10, 50)}
    single = {
        ("dc", "cifar100", 50), ("idc", "cifar100", 1), ("idc", "cifar100", 50),
        ("dream", "tiny_imagenet", 10),
    }  # fmt: skip
    whole = {("whole", d, "all") for d in data}
    found = cells(list(table("dance_table_1").numbers), "method", "data", "ipc")
    assert set(found) == (every - tiny - fashion - single) | whole

    subsets = ("nette", "woof", "fruit", "meow", "squawk", "yellow")
    every = {(m, f"image{d}", i) for m in ("random", "mtt", "dm", "datadam", "dance")
             for d in subsets for i in (1, 10)}  # fmt: skip
    absent = {(m, f"image{d}", i) for m in ("dm", "datadam") for d in ("fruit", "meow", "yellow")
              for i in (1, 10)}  # fmt: skip
    whole = {("whole", f"image{d}", "all") for d in subsets}
    found = cells(list(table("dance_table_2").numbers), "method", "data", "ipc")
    assert set(found) == (every - absent) | whole

    assert len(table("dance_table_3").numbers) == 5 * 3 * 2
    assert len(table("dance_table_4").numbers) == 2 * (6 * 3 - 1)
    assert len(table("dance_table_5").numbers) == 4 * 4
    assert [number.where["experts"] for number in table("dance_table_6").numbers] == [
        1, 2, 3, 4, 5, 10, 15, 20,
    ]  # fmt: skip


def test_tables_3_5_and_6_repeat_table_1() -> None:
    first = cells(list(table("dance_table_1").numbers), "method", "data", "ipc")
    column = cells(table("dance_table_3").select(network="convnet"), "method", "data", "ipc")
    parts = cells(table("dance_table_5").select(without="nothing"), "method", "data", "ipc")
    for repeated in (column, parts):
        assert repeated
        assert {key: first[key] for key in repeated} == repeated
    assert mean("dance_table_6", experts=5) == first["dance", "cifar10", 10][0]


def test_the_mtt_of_table_1_is_the_mean_of_another_benchmark() -> None:
    own = cells(list(table("mtt").numbers), "data", "ipc")
    assert [own["cifar10", ipc][0] for ipc in (1, 10, 50)] == [46.3, 65.3, 71.6]
    for data, ipc in (("cifar10", 1), ("cifar10", 10), ("cifar10", 50), ("tiny_imagenet", 1),
                      ("tiny_imagenet", 10)):  # fmt: skip
        printed = mean("dance_table_1", method="mtt", data=data, ipc=ipc)
        board = mean("dc_bench", method="mtt", data=data, ipc=ipc, augmentation="mean")
        assert abs(printed - board) <= 0.05, "rounded"
        assert own[data, ipc][0] > printed
    for ipc in (1, 10, 50):
        assert own["cifar100", ipc][0] == mean(
            "dance_table_1", method="mtt", data="cifar100", ipc=ipc
        )
    assert "not MTT's own" in table("dance_table_1").errata[0]
    assert "not MTT's own" in table("dance_table_1").source("mtt", "cifar10")


def test_rows_on_tiny_imagenet_are_those_of_dc_bench_but_for_a_slip() -> None:
    for method in ("dc", "dsa"):
        for number in table("dance_table_1").select(method=method, data="tiny_imagenet"):
            best = mean("dc_bench", **{**number.where, "augmentation": "best"})
            if (method, number.where["ipc"]) == ("dsa", 50):
                assert (number.mean, best) == (5.1, 25.31)
            else:
                assert abs(number.mean - best) < 0.15


def test_a_first_pick_of_herding_and_of_k_center_is_the_same() -> None:
    """Both take the image nearest to the class mean, so the paper's cells differ by noise."""
    for data in ("fashion_mnist", "cifar10", "cifar100"):
        first, other = (
            mean("dance_table_1", method=method, data=data, ipc=1)
            for method in ("herding", "k_center")
        )
        assert abs(first - other) <= 0.1


def test_idc_is_copied_from_its_program_and_ncfm_s_ablation_is_below_its_table() -> None:
    for number in table("dance_table_1").select(method="idc"):
        assert number.mean == mean("idc", **number.where)
    for number in table("ncfm_ablation").numbers:
        main = mean("ncfm", data=number.where["data"], ipc=number.where["ipc"], method="ncfm")
        assert number.mean <= main


def test_a_number_reads_as_printed() -> None:
    (number,) = table("dance_table_1").select(method="dance", data="cifar10", ipc=10)
    assert str(number) == "70.8 ± 0.2"
    assert str(table("tgdd").select(data="imagenette")[0]) == "82.0"


def test_an_unknown_table_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'dance_table_1'"):
        table("dance_table1")


def test_every_table_of_the_paper_is_there() -> None:
    assert set(PAPER) < set(names())
