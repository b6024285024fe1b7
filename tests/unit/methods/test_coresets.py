"""Selection by features against loops written from the rules, one distance after the other."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from sklearn.cluster import KMeans as Reference
from sklearn.datasets import load_digits

from dance.core.errors import ConfigError
from dance.core.rng import keyed_generator
from dance.methods import METHODS, Coreset
from dance.methods.herding import icarl, welling
from dance.methods.k_center import farthest_first
from dance.methods.k_means import initial_centres, lloyd, nearest_images
from dance.methods.toolkit import clustering
from dance.methods.toolkit.coreset import features, representative_images
from unit.methods.tasks import image_set, task
from unit.methods.test_class_ranges import owned

Rows = list[list[Fraction]]


def exact(features: torch.Tensor) -> Rows:
    """The same numbers without rounding, so that ties are ties."""
    return [[Fraction(number) for number in row] for row in features.tolist()]


def mean(rows: Rows) -> list[Fraction]:
    return [sum(column, Fraction(0)) / len(rows) for column in zip(*rows, strict=True)]


def distance(one: list[Fraction], two: list[Fraction]) -> Fraction:
    return sum(((a - b) ** 2 for a, b in zip(one, two, strict=True)), Fraction(0))


def herding_by_hand(features: torch.Tensor, count: int) -> list[int]:
    """The residual's distance to every image, at every step."""
    rows = exact(features)
    middle = mean(rows)
    chosen: list[int] = []
    for number in range(count):
        held = [rows[k] for k in chosen]
        residual = [
            (number + 1) * m - sum((row[d] for row in held), Fraction(0))
            for d, m in enumerate(middle)
        ]
        left = [k for k in range(len(rows)) if k not in chosen]
        chosen.append(min(left, key=lambda k: (distance(residual, rows[k]), k)))
    return chosen


def welling_by_hand(features: torch.Tensor, count: int) -> list[int]:
    rows = exact(features)
    middle = mean(rows)
    weight, chosen = list(middle), []
    for _ in range(count):
        inner = [
            sum((w * f for w, f in zip(weight, row, strict=True)), Fraction(0)) for row in rows
        ]
        chosen.append(max(range(len(rows)), key=lambda k: (inner[k], -k)))
        weight = [w + m - f for w, m, f in zip(weight, middle, rows[chosen[-1]], strict=True)]
    return chosen


def k_center_by_hand(features: torch.Tensor, count: int) -> list[int]:
    rows = exact(features)
    middle = mean(rows)
    chosen = [min(range(len(rows)), key=lambda k: (distance(middle, rows[k]), k))]
    while len(chosen) < count:
        left = [k for k in range(len(rows)) if k not in chosen]
        far = {k: min(distance(rows[k], rows[c]) for c in chosen) for k in left}
        chosen.append(max(left, key=lambda k: (far[k], -k)))
    return chosen


def drawn(seed: int, count: int = 24, size: int = 3) -> torch.Tensor:
    """Small whole numbers: many ties and many copies."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, (count, size), generator=generator).double()


RULES = [(icarl, herding_by_hand), (welling, welling_by_hand), (farthest_first, k_center_by_hand)]
every_rule = pytest.mark.parametrize(("rule", "by_hand"), RULES)


@every_rule
@pytest.mark.parametrize("seed", range(6))
def test_ties_and_copies_are_broken_as_by_hand(rule, by_hand, seed) -> None:
    features = drawn(seed)
    assert rule(features, 20).tolist() == by_hand(features, 20)


@every_rule
def test_features_far_from_zero_and_of_many_sizes(rule, by_hand) -> None:
    generator = torch.Generator().manual_seed(9)
    features = torch.rand(40, 9, generator=generator, dtype=torch.float64) ** 4 * 100 + 50
    assert rule(features, 12).tolist() == by_hand(features, 12)


@every_rule
@pytest.mark.parametrize("digit", [0, 3, 8])
def test_real_digits(rule, by_hand, digit) -> None:
    """Pixels, and what a network makes of them in float32, some of it copied."""
    images, labels = load_digits(return_X_y=True)
    pixels = torch.from_numpy(images[labels == digit])[:60]
    mixed = torch.rand(64, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    embedded = (pixels @ mixed).relu().float().double()
    for found in (pixels, torch.cat([embedded, embedded[5:15]])):
        assert rule(found, 9).tolist() == by_hand(found, 9)


@pytest.mark.parametrize("seed", range(4))
def test_one_image_is_the_same_for_all(seed) -> None:
    features = drawn(seed, 30)
    (first,) = icarl(features, 1).tolist()
    assert farthest_first(features, 1).tolist() == [first]
    centres, _ = lloyd(features, initial_centres(features, 1, keyed_generator(seed, "a")))
    assert nearest_images(features, centres).tolist() == [first]


@every_rule
def test_fewer_are_the_beginning_of_more(rule, by_hand) -> None:
    features = drawn(3, 40, 5)
    more = rule(features, 30).tolist()
    assert all(rule(features, count).tolist() == more[:count] for count in (1, 2, 7, 29))


def test_copies_are_chosen_last_by_k_center() -> None:
    features = drawn(0, 8, 4)
    different = len({tuple(row) for row in features.tolist()})
    chosen = farthest_first(features.repeat(3, 1), 24).tolist()
    assert len(set(chosen)) == 24
    first = {tuple(row) for row in features.repeat(3, 1)[chosen[:different]].tolist()}
    assert len(first) == different
    assert max(chosen[:different]) < 8, "of copies the first"


def test_welling_s_rule_may_repeat_and_agrees_where_lengths_are_equal() -> None:
    angles = torch.tensor([0.1, 0.5, 1.3, 2.9, 4.0], dtype=torch.float64)
    features = torch.stack([angles.cos(), angles.sin()], 1)
    assert welling(features, 3).tolist() == icarl(features, 3).tolist()
    assert len(set(welling(torch.tensor([[1.0], [5.0]]).double(), 4).tolist())) < 4


class TestKMeans:
    @pytest.mark.parametrize("count", [2, 5, 9])
    def test_moves_as_another_library_does(self, count) -> None:
        images, labels = load_digits(return_X_y=True)
        features = torch.from_numpy(images[labels == 4])
        start = initial_centres(features, count, keyed_generator(0, "a"))
        centres, total = lloyd(features, start)
        reference = Reference(
            count, init=start.numpy(), n_init=1, algorithm="lloyd", tol=0, max_iter=100
        ).fit(features.numpy())
        torch.testing.assert_close(centres, torch.from_numpy(reference.cluster_centers_))
        assert total == pytest.approx(reference.inertia_, rel=1e-9)

    def test_takes_the_nearest_image_of_each_centre(self) -> None:
        images, labels = load_digits(return_X_y=True)
        features = torch.from_numpy(images[labels == 7])
        centres, _ = lloyd(features, initial_centres(features, 6, keyed_generator(1, "a")))
        nearest = {
            min(range(len(features)), key=lambda k: math.dist(features[k], c)) for c in centres
        }
        assert set(nearest_images(features, centres).tolist()) == nearest

    def test_no_image_twice_even_where_centres_fall_together(self) -> None:
        features = torch.tensor([[0.0], [0.0], [0.0], [4.0], [9.0]]).double()
        centres, total = lloyd(features, torch.tensor([[0.0], [0.0], [0.0], [5.0]]).double())
        assert sorted(nearest_images(features, centres).tolist()) == [0, 1, 3, 4]
        assert total == 0
        same = torch.ones(5, 2, dtype=torch.float64)
        held, _ = lloyd(same, initial_centres(same, 3, keyed_generator(0, "a")))
        assert nearest_images(same, held).tolist() == [0, 1, 2]

    def test_the_largest_cluster_chooses_first(self) -> None:
        features = torch.tensor([[0.0], [1.0], [1.4], [1.6]]).double()
        centres = torch.tensor([[0.9], [1.1]]).double()  # both are nearest to 1.0
        assert nearest_images(features, centres).tolist() == [1, 2]
        centres = torch.tensor([[1.05], [0.95]]).double()  # clusters of 3 and of 1
        assert nearest_images(features, centres).tolist() == [1, 2]

    def test_starts_are_far_apart_and_of_the_key_alone(self) -> None:
        """Two heaps far apart: both centres in one only if the draw is exactly in it."""
        generator = torch.Generator().manual_seed(0)
        heaps = torch.rand(50, 2, generator=generator, dtype=torch.float64)
        heaps[25:] += 1000
        for seed in range(20):
            start = initial_centres(heaps, 2, keyed_generator(seed, "a"))
            assert (start > 500).any()
            assert (start < 500).any()
            assert torch.equal(start, initial_centres(heaps, 2, keyed_generator(seed, "a")))

    def test_more_starts_are_no_worse(self) -> None:
        features = drawn(2, 60, 4) + 0.1 * drawn(3, 60, 4)
        sums = []
        for starts in (1, 2, 8):
            generator, best = keyed_generator(5, "a"), math.inf
            for _ in range(starts):
                best = min(best, lloyd(features, initial_centres(features, 6, generator))[1])
            sums.append(best)
        assert sums == sorted(sums, reverse=True)


NAMES = ("herding", "k_center", "k_means")


def make(name: str, **options: object) -> Coreset:
    kind = METHODS.get(name)
    method = kind(kind.Config(**options))
    assert isinstance(method, Coreset)
    return method


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_classes_are_chosen_from_by_themselves(name, channels) -> None:
    """All classes at once are each of them alone, from its own features and its own draws."""
    given = task(3, train=image_set((9, 14, 6), channels=channels))
    method = make(name)
    chosen = method.select(given).view(3, 3)
    for label in range(3):
        alone = method.select(replace(given, classes=range(label, label + 1)))
        assert torch.equal(alone, chosen[label])
        rows = given.train.rows(label)
        found = features(given, given.experts[0][1], rows)
        picked = method.pick(found, 3, keyed_generator(given.seed, "select", label))
        assert torch.equal(rows[picked], chosen[label])


@pytest.mark.parametrize(
    ("name", "by_hand"), [("herding", herding_by_hand), ("k_center", k_center_by_hand)]
)
def test_the_expert_is_the_one_asked_for(name, by_hand) -> None:
    given = task(4, train=image_set((20, 20)), experts=3)
    found = []
    for number in range(3):
        rows = make(name, expert=number).select(given)
        standard = features(given, given.experts[number][1], given.train.rows(1))
        assert rows[4:].tolist() == given.train.rows(1)[by_hand(standard, 4)].tolist()
        found.append(tuple(rows.tolist()))
    assert len(set(found)) > 1
    with pytest.raises(ConfigError, match=r"below experts\.count, 3: got 3"):
        make(name, expert=3).select(given)


@pytest.mark.parametrize("name", [*NAMES, "random"])
def test_classes_that_are_too_small_are_refused_before_any_work(name) -> None:
    given = task(5, train=image_set((9, 4, 7)))
    with pytest.raises(ConfigError, match=r"class 1' has 4 .*; use a smaller --ipc"):
        make(name).select(given)
    whole = make(name).select(task(4, train=image_set((4, 4))))
    assert sorted(whole.tolist()) == list(range(8))


@pytest.mark.parametrize("name", NAMES)
def test_features_of_one_class_live_at_a_time(name, monkeypatch) -> None:
    """The tensors that the feature pass gave are gone when the next class is forwarded."""
    import gc
    import weakref

    from dance.methods.toolkit import coreset

    held: list[weakref.ref[torch.Tensor]] = []

    def watched(*given: object, **options: object) -> torch.Tensor:
        gc.collect()
        assert [tensor for tensor in held if tensor() is not None] == []
        found = features(*given, **options)  # type: ignore[arg-type]
        held.append(weakref.ref(found))
        return found

    monkeypatch.setattr(coreset, "features", watched)
    make(name).select(task(2, train=image_set((9, 14, 6))))
    assert len(held) == 3


class TestRepresentativeImages:
    """Initial stored images by the clusters of an expert's features."""

    def test_cells_show_the_images_nearest_to_the_centroids(self) -> None:
        given = task(2, 2, train=image_set((30, 40, 25)))
        made = representative_images(given)
        _, expert = given.experts[0]
        for label in range(3):
            rows = given.train.rows(label)
            generator = keyed_generator(given.seed, "start clusters", label)
            found = features(given, expert, rows)
            chosen = rows[clustering.representatives(found, 8, generator)]
            for stored in range(2):
                for cell in range(4):
                    top, left = cell // 2 * 4, cell % 2 * 4
                    shown = made[2 * label + stored, :, top : top + 4, left : left + 4]
                    real = given.train.images[chosen[cell * 2 + stored]].double() / 255
                    torch.testing.assert_close(shown.double(), real[:, ::2, ::2])

    def test_a_process_makes_those_of_its_classes(self) -> None:
        given = task(2, 2, train=image_set((30, 40, 25)))
        part = replace(given, initial=given.initial[2:], classes=range(1, 3))
        assert torch.equal(representative_images(part), representative_images(given)[2:])

    def test_a_process_without_classes_makes_none(self) -> None:
        given = owned(task(2, 2, train=image_set((30, 40, 25))), range(3, 3))
        assert representative_images(given).shape == (0, 3, 8, 8)

    def test_more_cells_than_images_show_some_twice(self) -> None:
        assert bool(representative_images(task(2, 2)).isfinite().all())
