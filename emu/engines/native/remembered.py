"""What the python engine has found out beside native code, kept on disk from run to run.

Native code leaves a few instructions to the python engine. To decode and emit them takes the
decoder and all meanings, whose import takes longer than most guests run: the answers
are kept, for guests that ask no more than those before them.
"""

from __future__ import annotations

import marshal

from emu.engines.block import bound
from emu.engines.facts import Facts
from emu.engines.native.cache import DiskCache
from emu.engines.native.learned import form_of, mode_of, row_of
from isa.definition import Instruction
from isa.hints import TYPE_CHECKING, Any, Final, Hashable, cast
from isa.x86.form import Form, Shape
from isa.x86.mode import Mode

if TYPE_CHECKING:
    from emu.engines.python import Session

MOST: Final = 200  # instructions, and forms


class Remembered:
    """Instructions by mode and code, facts and handlers by form, and modes without a fetch trace.

    All hold for one set of conditions, of which `name` is a digest: also handlers that note what
    they access, as those of watched machines do, are others.
    """

    def __init__(self, cache: DiskCache, name: str) -> None:
        self._cache = cache
        self._name = name
        self._instructions: dict[tuple[Hashable, bytes], Instruction] = {}
        self._facts: dict[Hashable, Facts] = {}
        self._sources: dict[Hashable, tuple[list[str], str, bytes]] = {}
        self._plain: set[Hashable] = set()  # modes in which code lies at the program counter
        self._new = False
        found = cache.load(name)
        if found is not None:
            self._load(found[0])

    # -- questions -------------------------------------------------------------------------------

    def instruction(self, mode: Hashable, code: bytes) -> Instruction | None:
        """What is known to be at the start of some code: no byte behind it decides."""
        if not self._instructions:
            return None
        starts = (code[:length] for length in range(1, len(code) + 1))
        found = (self._instructions.get((mode, start)) for start in starts)
        return next((instruction for instruction in found if instruction is not None), None)

    def facts(self, form: Hashable) -> Facts | None:
        """Facts of a form."""
        return self._facts.get(form)

    def handler(self, form: Hashable, session: Session) -> Any:
        """A form's handler, for a session; None if it is not known."""
        found = self._sources.get(form)
        if found is None:
            return None
        fields, source, code = found
        return bound(session, fields, source, marshal.loads(code))

    def is_plain(self, mode: Hashable) -> bool:
        """Whether it is known that code lies at the program counter, without checks."""
        return mode in self._plain

    # -- answers ---------------------------------------------------------------------------------

    def note_instruction(self, mode: Hashable, code: bytes, found: Instruction) -> None:
        """Remember what was decoded."""
        if found.behind == 0 and len(self._instructions) < MOST:
            self._instructions[mode, code[: found.length]] = found
            self._new = True

    def note_form(self, form: Hashable, facts: Facts, handler: Any) -> None:
        """Remember what was derived from a form's trace."""
        if len(self._sources) < MOST:
            code = marshal.dumps(handler.__code__)  # to compile it takes longer than many a guest
            self._facts[form] = facts
            self._sources[form] = handler.fields, handler.source, code
            self._new = True

    def note_plain(self, mode: Hashable) -> None:
        """Remember that in a mode code lies at the program counter."""
        if len(self._plain) < MOST and mode not in self._plain:
            self._plain.add(mode)
            self._new = True

    # -- the disk --------------------------------------------------------------------------------

    def save(self) -> None:
        """Keep what is new."""
        if self._new:
            self._new = False
            self._cache.save(self._name, self._head(), b"")

    def _head(self) -> dict[str, Any]:
        known = self._instructions
        found = dict.fromkeys([*self._sources, *(i.form for i in known.values())])
        forms = [cast(Form, form) for form in found]
        modes = list(
            dict.fromkeys([*self._plain, *(m for m, _ in known), *(form.mode for form in forms)])
        )
        numbers = {cast(Mode, mode): number for number, mode in enumerate(modes)}
        places = {form: number for number, form in enumerate(forms)}
        return {
            "modes": [tuple(cast(Mode, mode)) for mode in modes],
            "plain": [numbers[cast(Mode, mode)] for mode in self._plain],
            "forms": [[row_of(form, numbers), *self._derived(form)] for form in forms],
            "instructions": [
                [numbers[cast(Mode, mode)], code.hex(), places[cast(Form, i.form)], dict(i.fields)]
                for (mode, code), i in known.items()
            ],
        }

    def _derived(self, form: Form) -> tuple[Any, ...]:
        """What was derived from a form's trace, if somebody asked."""
        if form not in self._sources:
            return ()
        facts = self._facts[form]
        told = [facts.alone, facts.ends, facts.checks, facts.undo, facts.repeats]
        return told, *self._sources[form]

    def _load(self, head: dict[str, Any]) -> None:
        modes = [mode_of(told) for told in head["modes"]]
        self._plain = {modes[number] for number in head["plain"]}
        shapes: dict[tuple[Any, ...], Shape] = {}
        forms = [form_of(row, modes, shapes) for row, *_ in head["forms"]]
        for form, (_, *derived) in zip(forms, head["forms"], strict=True):
            if derived:
                facts, *handler = derived
                self._facts[form], self._sources[form] = Facts(*facts), tuple(handler)
        for mode, text, place, fields in head["instructions"]:
            code = bytes.fromhex(text)
            found = Instruction(forms[place], fields, len(code))
            self._instructions[modes[mode], code] = found
