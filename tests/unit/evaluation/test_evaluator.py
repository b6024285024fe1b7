"""Scores: what they hold, that they agree with themselves, and that they can be made again."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dance.condensed import CondensedSet, initial_pixels
from dance.condensed.decoders import of_factor
from dance.condensed.score import Curve, Score
from dance.core.checkpoints import Checkpoints
from dance.core.rng import key, keyed_generator
from dance.data import ImageSet
from dance.evaluation import PROTOCOLS, EvaluationConfig, score_set, score_states
from dance.training import Trainer, TrainingData
from dance.training.trainer import predict
from unit.training.blobs import blobs, start, tiny, training

FEW = (
    "only 33 test images: a single one changes an accuracy by 3.0 points, so small differences are "
    "chance"
)
CONFIG = EvaluationConfig(protocol="quick-v1", epochs=3, repeats=3)


def uneven_test() -> ImageSet:
    """Unseen images, more of the first class than of the others."""
    images = blobs(60, split="test")
    rows = torch.cat([images.rows(0), images.rows(1)[:9], images.rows(2)[:4]])
    return replace(images, images=images.images[rows], labels=images.labels[rows])


def condensed(factor: int = 2) -> CondensedSet:
    train = blobs(60)
    return CondensedSet(
        pixels=initial_pixels(train, 2, of_factor(factor), "first", 0),
        labels=torch.arange(3).repeat_interleave(2),
        classes=train.classes,
        normalization=train.normalization,
        decoder=of_factor(factor),
        provenance={"notes": ["told"]},
    )


def scored(config: EvaluationConfig = CONFIG, norm: str = "instance", **changes: Any) -> Score:
    words: dict[str, Any] = {"subject": "condensed", "label": "DANCE", "seed": 0} | changes
    return score_set(condensed(), uneven_test(), tiny(norm), "convnet", config, **words)


@pytest.fixture(scope="module")
def score() -> Score:
    return scored()


class TestFields:
    def test_they_go_through_json(self, score) -> None:
        assert Score.from_plain(json.loads(json.dumps(score.to_plain()))) == score
        assert score.asked is None and score.device

    def test_facts(self, score) -> None:
        expected = {
            "subject": "condensed", "label": "DANCE", "network": "convnet",
            "parameters": tiny().parameter_count(), "epochs": 3, "repeats": 3,
            "statistic": "last epoch of the final set", "test_images": 33, "train_images": 24,
            "storage_bytes": 4 * 6 * 3 * 8 * 8, "dataset": "blobs", "notes": ("told", FEW),
            "data_fingerprint": "fingerprint 0",
        }  # fmt: skip
        assert {name: getattr(score, name) for name in expected} == expected
        assert score.seconds > 0 and score.peak_memory_bytes > 1 << 20
        assert len(set(score.seeds)) == 3

    def test_confusion_has_true_classes_as_rows(self, score) -> None:
        confusion = np.array(score.confusion)
        assert confusion.sum(1).tolist() == [3 * 20, 3 * 9, 3 * 4]

    def test_accuracies_agree(self, score) -> None:
        confusion = np.array(score.confusion)
        assert score.last.mean == pytest.approx(confusion.trace() / confusion.sum())
        assert score.per_class == pytest.approx(confusion.diagonal() / confusion.sum(1))
        for curve, last in zip(score.curve.accuracy, score.last.values, strict=True):
            assert curve[-1] == last
        assert score.last.std == pytest.approx(np.std(score.last.values, ddof=1))


class TestTraining:
    def test_each_network_is_the_fit_of_its_seed(self, score) -> None:
        """Decoded images, fresh weights, the protocol's recipe, all test images."""
        test, network = uneven_test(), tiny()
        images = condensed().images()
        data = TrainingData(images, condensed().targets())
        recipe = replace(PROTOCOLS.get("quick-v1").training, epochs=3)
        confusion = torch.zeros(3, 3, dtype=torch.int64)
        for member, seed in enumerate(score.seeds):
            assert seed == key(0, "evaluation", member)
            initial = network.initial(keyed_generator(seed, "weights"))
            fit = Trainer(network, [initial], data, recipe, [seed])
            for _ in range(3):
                fit.train_epoch()
            predicted = predict(network, fit.state(0), training(test))
            right = (predicted == test.labels).double().mean().item()
            assert score.last.values[member] == pytest.approx(right)
            for truth, guess in zip(test.labels.tolist(), predicted.tolist(), strict=True):
                confusion[truth, guess] += 1
        assert [*map(list, score.confusion)] == confusion.tolist()

    def test_it_can_be_made_again(self, score) -> None:
        again = scored()
        assert again.lasting() == score.lasting()
        assert scored(seed=1).seeds != score.seeds

    def test_a_network_does_not_depend_on_how_many_are_trained(self, score) -> None:
        fewer = scored(replace(CONFIG, repeats=2))
        assert fewer.last.values == score.last.values[:2]
        assert fewer.seeds == score.seeds[:2]

    def test_batch_norm_is_tested_with_running_statistics(self) -> None:
        """What an image is called does not depend on the images beside it."""
        test = uneven_test()
        confusions = []
        for rows in (slice(None), slice(0, 7), slice(7, None)):
            some = replace(test, images=test.images[rows], labels=test.labels[rows])
            found = score_set(
                condensed(), some, tiny("batch"), "convnet", CONFIG,
                subject="condensed", label="DANCE", seed=0,
            )  # fmt: skip
            confusions.append(np.array(found.confusion))
        whole, first, rest = confusions
        assert (whole == first + rest).all()


class TestInterruption:
    """After any step: the same score, whatever was kept."""

    STEPS = 3 * 3 * 2
    """Networks, epochs, and steps in a pass over the 24 images, here 16 at a time."""

    @pytest.fixture
    def often(self, monkeypatch: pytest.MonkeyPatch) -> EvaluationConfig:
        quick = PROTOCOLS.get("quick-v1")
        own = replace(
            quick, name="own", tests_every=1, training=replace(quick.training, batch_size=16)
        )
        monkeypatch.setitem(PROTOCOLS._members, "own", own)
        return EvaluationConfig(protocol="own", epochs=3, repeats=3)

    @staticmethod
    def stopped(place: Path, config: EvaluationConfig, *steps: int, norm: str = "batch") -> Score:
        """Scored in attempts, each ended by Ctrl-C in this step of its own."""
        step = Trainer.step
        for last in steps:
            made: list[int] = []

            def disturbed(self: Trainer, *given: Any, made: Any = made, last: int = last) -> Any:
                made.append(1)
                if len(made) == last:
                    os.kill(os.getpid(), signal.SIGINT)
                return step(self, *given)

            with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(Trainer, "step", disturbed)
                scored(config, norm, checkpoints=Checkpoints(place, "row", {}, 1000))
        return scored(config, norm, checkpoints=Checkpoints(place, "row", {}, 1000))

    def test_after_every_step(self, tmp_path, often) -> None:
        expected = scored(often, "batch")
        for step in range(1, self.STEPS + 1):
            found = self.stopped(tmp_path / str(step), often, step)
            assert found.lasting() == expected.lasting(), step

    def test_again_and_again(self, tmp_path, often, capsys) -> None:
        expected = scored(often, "batch")
        found = self.stopped(tmp_path, often, 1, 2, 6, 5, 2)
        assert found.curve == expected.curve
        assert found.confusion == expected.confusion
        assert "2 of 3 networks are done" in capsys.readouterr().err
        assert Checkpoints(tmp_path, "row", {}, 0).numbers() == [14, 16], "for the caller to clear"

    def test_seconds_add_up(self, tmp_path, often) -> None:
        place = Checkpoints(tmp_path, "row", {}, 1000)
        self.stopped(tmp_path, often, 4)
        tensors, header = place.latest() or pytest.fail("nothing saved")
        place.save(place.numbers()[-1], tensors, {**header, "seconds": 1000.0})
        assert scored(often, "batch", checkpoints=place).seconds > 1000


class TestProtocol:
    def test_a_changed_length_changes_the_name(self, score) -> None:
        assert score.protocol == "quick-v1, 3 epochs"
        own = PROTOCOLS.get("quick-v1").schedule(24, 3, 8).epochs
        assert own == 500

    def test_the_protocol_s_own_length_keeps_it(self, monkeypatch) -> None:
        steps = replace(PROTOCOLS.get("quick-v1"), name="own", steps=2, tests_every=1)
        monkeypatch.setitem(PROTOCOLS._members, "own", steps)
        for epochs in (None, 2):
            found = scored(EvaluationConfig(protocol="own", repeats=1, epochs=epochs))
            assert (found.protocol, found.epochs) == ("own", 2)

    def test_repeats_are_the_protocol_s_unless_given(self) -> None:
        found = scored(EvaluationConfig(protocol="quick-v1", epochs=1))
        assert found.repeats == len(found.last.values) == 3
        found = scored(EvaluationConfig(protocol="dance-v1", epochs=1))
        assert found.repeats == len(found.seeds) == 10

    def test_last_and_best(self, monkeypatch) -> None:
        """Best is the first of the highest tested epochs, last is the last whatever came before."""
        steps = replace(PROTOCOLS.get("quick-v1"), name="often", tests_every=1)
        monkeypatch.setitem(PROTOCOLS._members, "often", steps)
        found = scored(EvaluationConfig(protocol="often", epochs=8, repeats=3))
        curves = found.curve.accuracy
        assert found.curve.epochs == tuple(range(1, 9))
        assert found.best.values == tuple(max(curve) for curve in curves)
        assert found.best.epochs == tuple(1 + curve.index(max(curve)) for curve in curves)
        assert found.last.values == tuple(curve[-1] for curve in curves)
        assert found.best.mean == pytest.approx(np.mean([max(curve) for curve in curves]))
        assert any(max(curve) > curve[-1] for curve in curves), "the two are not distinguished"


class TestSetsThatBringMore:
    """Soft labels and a learned rate change what networks learn, and the row says so."""

    @staticmethod
    def row(condensed_set: CondensedSet, protocol: str = "quick-v1") -> Score:
        evaluation = EvaluationConfig(protocol=protocol, epochs=20, repeats=1)
        return score_set(
            condensed_set, uneven_test(), tiny(), "convnet", evaluation,
            subject="condensed", label="DANCE", seed=0,
        )  # fmt: skip

    def test_networks_learn_the_soft_labels(self) -> None:
        """Even where these call every image something else."""
        plain, test, network = condensed(), uneven_test(), tiny()
        taught = torch.nn.functional.one_hot((plain.targets() + 1) % 3, 3).float()
        found = self.row(replace(plain, soft_labels=taught))
        data = TrainingData(plain.images(), plain.targets(), targets=taught)
        (seed,) = found.seeds
        recipe = replace(PROTOCOLS.get("quick-v1").training, epochs=20)
        fit = Trainer(
            network, [network.initial(keyed_generator(seed, "weights"))], data, recipe, [seed]
        )
        for _ in range(20):
            fit.train_epoch()
        predicted = predict(network, fit.state(0), training(test))
        expected = torch.bincount(test.labels * 3 + predicted, minlength=9).view(3, 3)
        assert [*map(list, found.confusion)] == expected.tolist()
        assert found.confusion != self.row(plain).confusion

    def test_rows_are_distinguished(self) -> None:
        plain = condensed()
        taught = replace(plain, soft_labels=torch.full((24, 3), 1 / 3))
        hard, soft, back = (self.row(each) for each in (plain, taught, taught.hard()))
        assert (hard.labels, soft.labels, back.labels) == ("hard", "soft", "hard")
        assert soft.storage_bytes == hard.storage_bytes + 4 * 24 * 3
        assert back.curve == hard.curve

    def test_the_learned_rate(self) -> None:
        plain = condensed()
        learned = replace(plain, learning_rate=0.2)
        told = [note for note in self.row(plain, "mtt-v1").notes if "0.01" in note]
        assert told == [
            "mtt-v1 uses the learning rate that is stored in a set; this one has none, so 0.01 was "
            "used"
        ]
        assert self.row(learned, "mtt-v1").notes == ("told", FEW)
        rates = []

        class Seen(Trainer):
            def __init__(
                self, network: Any, states: Any, data: Any, fit: Any, *rest: Any, **k: Any
            ):
                rates.append(fit.learning_rate)
                super().__init__(network, states, data, fit, *rest, **k)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dance.evaluation.evaluator.Trainer", Seen)
            for protocol in ("mtt-v1", "dsa-v1"):
                self.row(learned, protocol)
        assert rates == [0.2, 0.01]


class TestWholeSet:
    def test_experts_are_tested_as_they_are(self) -> None:
        network, test = tiny(), uneven_test()
        states = [start(network, seed) for seed in range(2)]
        found = score_states(
            states, test, network, "convnet",
            epochs=60, train_images=20, storage_bytes=3840, seconds=1.5, seeds=[0, 1],
        )  # fmt: skip
        assert Score.from_plain(json.loads(json.dumps(found.to_plain()))) == found
        right = [
            (predict(network, state, training(test)) == test.labels).double().mean().item()
            for state in states
        ]
        assert found.last.values == pytest.approx(right)
        assert found.curve == Curve(epochs=(60,), accuracy=tuple((x,) for x in right))
        assert np.array(found.confusion).sum() == 2 * 33
        assert (found.subject, found.epochs, found.seconds) == ("whole", 60, 1.5)
        assert found.protocol == "expert recipe"
