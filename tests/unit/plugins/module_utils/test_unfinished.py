# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The note of what a run is about to change, as the next run reads it."""

from __future__ import annotations

import json

from ansible_collections.tenantnet.nova.plugins.module_utils._core.connections import Ways
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers.unfinished import Note

GONE = Ways(frozenset({("203.0.113.7", "10.0.0.5"), ("203.0.113.8", "10.0.0.5")}), frozenset())
COME = Ways(frozenset({("2001:db8::7", "fd00::5")}), frozenset({("203.0.113.7", "10.0.0.6")}))


def test_what_was_noted_is_read(tmp_path):
    path = str(tmp_path / "note")
    assert Note(path).left is None
    Note(path).add(GONE, COME, False)
    left = Note(path).left
    assert left and (left.gone, left.come, left.guards) == (GONE, COME, False)
    # A second run that is killed as well.
    Note(path).add(Ways(), GONE, True)
    left = Note(path).left
    assert left and left.gone == GONE and left.guards
    assert left.come == Ways(GONE.to_guests | COME.to_guests, COME.from_guests)


def test_of_a_note_in_other_words_the_guards_are_judged(tmp_path):
    path = tmp_path / "note"
    for words in ('{"gone": [[["203.0.113.7", "10.0.0.5"]], []], "come": [[], []], "guards": false}', "{}", "[", "7"):
        path.write_text(words)
        left = Note(str(path)).left
        assert left and left.guards and not left.gone.to_guests
    path.write_text(json.dumps({"gone": ["1 2 3", ""], "come": ["", ""], "guards": False}))
    assert Note(str(path)).left
