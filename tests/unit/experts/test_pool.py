"""Experts on disk: trained once, found again, continued, and never trusted when damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import dance.experts.pool as pool_module
from dance.core.errors import ArtifactError
from dance.core.rng import generator, key
from dance.experts import Expert, ExpertConfig, ExpertPool
from dance.networks import NetworkConfig, build
from dance.training import Fit
from dance.training.fit import EpochResult
from unit.training.blobs import blobs, training

RECIPE = ExpertConfig(epochs=4, batch_size=8, count=2, learning_rate=0.05)
SHAPE = NetworkConfig(width=4, depth=1)


def pool(
    directory: Path,
    *,
    config: ExpertConfig = RECIPE,
    shape: NetworkConfig = SHAPE,
    data_seed: int = 0,
    seed: int = 0,
    **options: Any,
) -> ExpertPool:
    train = blobs(20, seed=data_seed)
    network = build(shape, 3, 8, 3)
    return ExpertPool(train, network, shape, config, seed, directory=directory, **options)


def same(one: Expert, two: Expert) -> bool:
    return all(
        torch.equal(a[name], b[name])
        for a, b in ((one.initial, two.initial), (one.final, two.final))
        for name in a.keys() | b.keys()
    )


def harm(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[-40] ^= 1
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> list[Expert]:
    return pool(tmp_path_factory.mktemp("undisturbed")).ensure(2)


class TestTraining:
    def test_an_expert_is_the_fit_of_its_keys(self, undisturbed) -> None:
        """Initial and final weights can be made again from (seed, index) alone."""
        network = build(SHAPE, 3, 8, 3)
        for index, expert in enumerate(undisturbed):
            seed = key(0, "expert", index)
            initial = network.initial(generator(seed, "weights"))
            fit = Fit(network, [initial], training(blobs(20)), RECIPE, [seed])
            results = [fit.train_epoch() for _ in range(RECIPE.epochs)]
            assert expert.index == expert.header["index"] == index
            assert all(torch.equal(expert.initial[name], initial[name]) for name in initial)
            final = fit.state(0)
            assert all(torch.equal(expert.final[name], final[name]) for name in final)
            assert expert.header["train_accuracy"] == results[-1].accuracy[0]
            assert expert.header["train_accuracies"] == [r.accuracy[0] for r in results]
            assert expert.header["epochs"] == RECIPE.epochs
            assert expert.header["seconds"] > 0

    def test_only_what_is_missing(self, tmp_path, undisturbed) -> None:
        first = pool(tmp_path).ensure(1)
        stamp = first[0].path.stat().st_mtime_ns
        both = pool(tmp_path).ensure(2)
        assert [expert.trained_now for expert in both] == [False, True]
        assert both[0].path.stat().st_mtime_ns == stamp
        both[0].path.unlink()
        again = pool(tmp_path).ensure(2)
        assert [expert.trained_now for expert in again] == [True, False]
        assert [expert.index for expert in again] == [0, 1]
        for one, two in zip(again, undisturbed, strict=True):
            assert same(one, two), "an expert does not depend on which are trained beside it"

    def test_batch_norm_buffers_are_stored(self, tmp_path) -> None:
        shape = replace(SHAPE, norm="batch")
        (trained,) = pool(tmp_path, shape=shape).ensure(1)
        (read,) = pool(tmp_path, shape=shape).ensure(1)
        assert (trained.trained_now, read.trained_now) == (True, False)
        assert same(trained, read)
        steps = RECIPE.epochs * 3
        assert read.final["blocks.0.1.num_batches_tracked"] == steps
        assert not torch.equal(
            read.final["blocks.0.1.running_var"], read.initial["blocks.0.1.running_var"]
        )

    def test_no_experts_asked_for(self, tmp_path) -> None:
        assert pool(tmp_path).ensure(0) == []
        assert not list(tmp_path.rglob("*.safetensors"))


class TestIdentity:
    def test_the_count_does_not_matter(self, tmp_path) -> None:
        many = pool(tmp_path, config=replace(RECIPE, count=20))
        assert many.directory == pool(tmp_path).directory

    @pytest.mark.parametrize(
        "other",
        [
            {"seed": 1},
            {"data_seed": 1},
            {"config": replace(RECIPE, epochs=5)},
            {"config": replace(RECIPE, cutmix=0.1)},
            {"config": replace(RECIPE, augmentation="color")},
            {"config": replace(RECIPE, weight_decay=0.0)},
            {"shape": replace(SHAPE, width=5)},
            {"shape": replace(SHAPE, norm="batch")},
            {"shape": replace(SHAPE, pooling=3)},
            {"bfloat16": True},
        ],
    )
    def test_what_decides_the_weights_does(self, tmp_path, other) -> None:
        assert pool(tmp_path, **other).directory != pool(tmp_path).directory

    def test_a_hostile_name_stays_inside(self, tmp_path) -> None:
        train = replace(blobs(), name="../../etc/x\n")
        held = ExpertPool(train, build(SHAPE, 3, 8, 3), SHAPE, RECIPE, 0, directory=tmp_path)
        assert held.directory.parent == tmp_path


def stop_at(epoch: int, patch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of this epoch, counted from 0; a checkpoint after every one before."""
    patch.setattr(pool_module, "_SAVE_SECONDS", -1.0)
    train_epoch = Fit.train_epoch

    def interrupted(self: Fit, advance: Any = lambda steps: None) -> EpochResult:
        def stop(steps: int) -> None:
            advance(steps)
            if self.epoch == epoch:
                raise KeyboardInterrupt

        return train_epoch(self, stop)

    patch.setattr(Fit, "train_epoch", interrupted)


def partials(directory: Path) -> list[Path]:
    return sorted(directory.rglob("partial-*"))


class TestInterruption:
    @pytest.mark.parametrize("norm", ["instance", "batch"])
    def test_it_goes_on_to_the_same_weights(self, tmp_path, norm, capsys) -> None:
        shape = replace(SHAPE, norm=norm)
        straight = pool(tmp_path / "straight", shape=shape).ensure(2)
        place = tmp_path / "interrupted"
        with pytest.MonkeyPatch.context() as patch:
            stop_at(2, patch)
            with pytest.raises(KeyboardInterrupt):
                pool(place, shape=shape).ensure(2)
        assert len(partials(place)) == 1
        assert not list(place.rglob("expert-*"))
        capsys.readouterr()
        found = pool(place, shape=shape).ensure(2)
        out, err = capsys.readouterr()
        assert out == ""
        assert "after epoch 2" in err
        assert not partials(place)
        for one, two in zip(found, straight, strict=True):
            assert same(one, two)
            assert one.header["train_accuracies"] == two.header["train_accuracies"]

    def test_before_any_checkpoint(self, tmp_path, undisturbed) -> None:
        with pytest.MonkeyPatch.context() as patch:
            stop_at(0, patch)
            with pytest.raises(KeyboardInterrupt):
                pool(tmp_path).ensure(1)
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        assert same(pool(tmp_path).ensure(1)[0], undisturbed[0])

    def test_in_the_second_expert(self, tmp_path, undisturbed) -> None:
        pool(tmp_path).ensure(1)
        with pytest.MonkeyPatch.context() as patch:
            stop_at(3, patch)
            with pytest.raises(KeyboardInterrupt):
                pool(tmp_path).ensure(2)
        found = pool(tmp_path).ensure(2)
        assert [expert.trained_now for expert in found] == [False, True]
        assert all(same(one, two) for one, two in zip(found, undisturbed, strict=True))

    @pytest.mark.parametrize("how", ["flipped", "truncated"])
    def test_a_damaged_checkpoint_is_said_and_left(self, tmp_path, how, undisturbed, capsys):
        with pytest.MonkeyPatch.context() as patch:
            stop_at(3, patch)
            with pytest.raises(KeyboardInterrupt):
                pool(tmp_path).ensure(1)
        (partial,) = partials(tmp_path)
        harm(partial, how)
        capsys.readouterr()
        (found,) = pool(tmp_path).ensure(1)
        err = capsys.readouterr().err
        assert str(partial) in err and "damaged" in err and "going on" not in err
        assert same(found, undisturbed[0])
        assert len(found.header["train_accuracies"]) == RECIPE.epochs


class TestDamage:
    @pytest.mark.parametrize("how", ["flipped", "truncated"])
    def test_an_expert_is_named_and_trained_again(self, tmp_path, how, undisturbed, capsys):
        stored = pool(tmp_path).ensure(2)
        harm(stored[0].path, how)
        capsys.readouterr()
        found = pool(tmp_path).ensure(2)
        err = capsys.readouterr().err
        assert str(stored[0].path) in err and "damaged" in err
        assert [expert.trained_now for expert in found] == [True, False]
        assert all(same(one, two) for one, two in zip(found, undisturbed, strict=True))
        assert not any(expert.trained_now for expert in pool(tmp_path).ensure(2))

    def test_a_checkpoint_in_the_place_of_an_expert_is_none(self, tmp_path, undisturbed) -> None:
        with pytest.MonkeyPatch.context() as patch:
            stop_at(2, patch)
            with pytest.raises(KeyboardInterrupt):
                pool(tmp_path).ensure(1)
        (partial,) = partials(tmp_path)
        partial.rename(pool(tmp_path).path(0))
        (found,) = pool(tmp_path).ensure(1)
        assert found.trained_now and same(found, undisturbed[0])

    def test_a_place_that_cannot_be_written(self, tmp_path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(ArtifactError, match="file"):
            pool(tmp_path / "file").ensure(1)
