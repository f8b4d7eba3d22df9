"""Guests for tests: SmartModules in WebAssembly text, compiled when asked for. `wat2wasm` is the whole build.

`walker` makes modules that read their input record by record, as Fluvio's guest library does; `blunt` makes ones that
answer with given bytes and a given status, whatever they are given.
"""

from __future__ import annotations

import wasmtime

_DATA = 65_536


def compiled(text: str) -> bytes:
    """Return the WebAssembly of a text."""
    return bytes(wasmtime.wat2wasm(text))


def _bytes(data: bytes) -> str:
    return "".join(f"\\{byte:02x}" for byte in data)


_HELPERS = """
  (global $position (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 0))
  (global $kept (mut i32) (i32.const 0))
  (global $complained (mut i32) (i32.const 0))
  ;; One buffer for the input, and as much again behind it for the output.
  (func (export "alloc") (param $size i32) (result i32)
    (local $wanted i32)
    (local.set $wanted (i32.add (i32.shr_u (local.get $size) (i32.const 14)) (i32.const 4)))
    (if (i32.gt_u (local.get $wanted) (memory.size))
      (then (drop (memory.grow (i32.sub (local.get $wanted) (memory.size))))))
    (i32.const 65536))
  (func $u32 (param $at i32) (result i32)
    (i32.or
      (i32.or
        (i32.shl (i32.load8_u (local.get $at)) (i32.const 24))
        (i32.shl (i32.load8_u offset=1 (local.get $at)) (i32.const 16)))
      (i32.or
        (i32.shl (i32.load8_u offset=2 (local.get $at)) (i32.const 8))
        (i32.load8_u offset=3 (local.get $at)))))
  (func $byte (param $value i32)
    (i32.store8 (global.get $out) (local.get $value))
    (global.set $out (i32.add (global.get $out) (i32.const 1))))
  (func $put (param $at i32) (param $size i32)
    (memory.copy (global.get $out) (local.get $at) (local.get $size))
    (global.set $out (i32.add (global.get $out) (local.get $size))))
  (func $varint (result i32)
    (local $value i32) (local $shift i32) (local $byte i32)
    (loop $more
      (local.set $byte (i32.load8_u (global.get $position)))
      (global.set $position (i32.add (global.get $position) (i32.const 1)))
      (local.set $value
        (i32.or (local.get $value)
          (i32.shl (i32.and (local.get $byte) (i32.const 127)) (local.get $shift))))
      (local.set $shift (i32.add (local.get $shift) (i32.const 7)))
      (br_if $more (i32.ge_u (local.get $byte) (i32.const 128))))
    (i32.xor
      (i32.shr_u (local.get $value) (i32.const 1))
      (i32.sub (i32.const 0) (i32.and (local.get $value) (i32.const 1)))))
  ;; Whether a letter is in a value.
  (func $has (param $at i32) (param $size i32) (param $letter i32) (result i32)
    (block $no
      (loop $next
        (br_if $no (i32.eqz (local.get $size)))
        (if (i32.eq (i32.load8_u (local.get $at)) (local.get $letter)) (then (return (i32.const 1))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $size (i32.sub (local.get $size) (i32.const 1)))
        (br $next)))
    (i32.const 0))
"""


def walker(
    kind: str,
    visit: str,
    *,
    more: str = "",
    tail: str = "",
    library: str = "env",
    wasi: bool = False,
    third: bool = True,
) -> str:
    """Return the text of a module that calls `visit` for each record, then writes what is complained about.

    `visit` sees $start and $end of the record, $value and $size of its value and $delta; it writes with $put and $byte
    and counts in $kept. `$complain` in it ends the walk. `tail` is written at the end.
    """
    signature = "(param $input i32) (param $length i32)" + (" (param $version i32)" if third else "")
    imports = '(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))' if wasi else ""
    return f"""(module
  {imports}
  (import "{library}" "copy_records" (func $copy (param i32 i32)))
  (memory (export "memory") 8)
  {_HELPERS}
  {more}
  (func (export "{kind}") {signature} (result i32)
    (local $count i32) (local $at i32) (local $start i32) (local $end i32) (local $delta i32)
    (local $value i32) (local $size i32) (local $left i32) (local $begin i32)
    (local.set $begin (i32.add (local.get $input) (local.get $length)))
    (global.set $out (i32.add (local.get $begin) (i32.const 4)))
    (global.set $kept (i32.const 0))
    (global.set $complained (i32.const 0))
    (local.set $left (call $u32 (i32.add (local.get $input) (i32.const 12))))
    (global.set $position (i32.add (local.get $input) (i32.const 16)))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (local.set $start (global.get $position))
        (local.set $end (call $varint))
        (local.set $end (i32.add (global.get $position) (local.get $end)))
        (global.set $position (i32.add (global.get $position) (i32.const 1)))
        (drop (call $varint))
        (local.set $delta (call $varint))
        (global.set $position (i32.add (global.get $position) (i32.const 1)))
        (if (i32.load8_u (i32.sub (global.get $position) (i32.const 1)))
          (then (local.set $size (call $varint))
            (global.set $position (i32.add (global.get $position) (local.get $size)))))
        (local.set $size (call $varint))
        (local.set $value (global.get $position))
        (global.set $position (local.get $end))
        {visit}
        (br $next)))
    ;; The count, big-endian, in front; the complaint behind.
    (i32.store8 (local.get $begin) (i32.shr_u (global.get $kept) (i32.const 24)))
    (i32.store8 offset=1 (local.get $begin) (i32.shr_u (global.get $kept) (i32.const 16)))
    (i32.store8 offset=2 (local.get $begin) (i32.shr_u (global.get $kept) (i32.const 8)))
    (i32.store8 offset=3 (local.get $begin) (global.get $kept))
    (call $byte (global.get $complained))
    (if (global.get $complained)
      (then
        (call $byte (i32.const 0)) (call $byte (i32.const 2)) (call $byte (i32.const 110)) (call $byte (i32.const 111))
        (call $put (local.get $input) (i32.const 4))
        ;; The offset: that of the input and the record's place in it.
        (local.set $at (i32.add (call $u32 (i32.add (local.get $input) (i32.const 4))) (local.get $delta)))
        (call $byte (i32.shr_u (local.get $at) (i32.const 24)))
        (call $byte (i32.shr_u (local.get $at) (i32.const 16)))
        (call $byte (i32.shr_u (local.get $at) (i32.const 8)))
        (call $byte (local.get $at))
        (call $byte (i32.const 0)) (call $byte (i32.const 0)) (call $byte (i32.const 0))))
    {tail}
    (call $copy (local.get $begin) (i32.sub (global.get $out) (local.get $begin)))
    (global.get $kept)))"""


_COMPLAIN = """
        (if (call $has (local.get $value) (local.get $size) (i32.const 33))
          (then (global.set $complained (i32.const 1)) (br $done)))
        (if (call $has (local.get $value) (local.get $size) (i32.const 42))
          (then unreachable))
        (if (call $has (local.get $value) (local.get $size) (i32.const 94))
          (then (loop $for_ever (br $for_ever))))
"""
KEEP = """
        (call $put (local.get $start) (i32.sub (local.get $end) (local.get $start)))
        (global.set $kept (i32.add (global.get $kept) (i32.const 1)))
"""
_UPPER = """
        (local.set $at (i32.const 0))
        (block $copied
          (loop $letter
            (br_if $copied (i32.eq (local.get $at) (local.get $size)))
            (local.set $count (i32.load8_u (i32.add (local.get $value) (local.get $at))))
            (if (i32.and (i32.ge_u (local.get $count) (i32.const 97)) (i32.le_u (local.get $count) (i32.const 122)))
              (then
                (i32.store8 (i32.add (local.get $value) (local.get $at)) (i32.sub (local.get $count) (i32.const 32)))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $letter)))
"""
# One record for each byte of the value: length, attributes, two deltas, no key, the byte's length, the byte, headers.
_EACH = """
        (local.set $at (i32.const 0))
        (block $copied
          (loop $letter
            (br_if $copied (i32.eq (local.get $at) (local.get $size)))
            (call $byte (i32.const 14)) (call $byte (i32.const 0)) (call $byte (i32.const 0)) (call $byte (i32.const 0))
            (call $byte (i32.const 0)) (call $byte (i32.const 2))
            (call $byte (i32.load8_u (i32.add (local.get $value) (local.get $at))))
            (call $byte (i32.const 0))
            (global.set $kept (i32.add (global.get $kept) (i32.const 1)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $letter)))
"""
# The state is one byte, 32 and up, more by one for each record; each record's value becomes it.
_COUNT = """
        (global.set $state (i32.add (global.get $state) (i32.const 1)))
        (call $byte (i32.const 14)) (call $byte (i32.const 0)) (call $byte (i32.const 0))
        (call $byte (i32.shl (local.get $delta) (i32.const 1)))
        (call $byte (i32.const 0)) (call $byte (i32.const 2))
        (call $byte (global.get $state)) (call $byte (i32.const 0))
        (global.set $kept (i32.add (global.get $kept) (i32.const 1)))
"""
_ONLY_A = f"(if (call $has (local.get $value) (local.get $size) (i32.const 97)) (then {KEEP}))"


def letter_filter(**options: object) -> bytes:
    """Keep values with an `a`; refuse one with `!`, crash at `*`, run for ever at `^`."""
    return compiled(walker("filter", _COMPLAIN + _ONLY_A, **options))  # type: ignore[arg-type]


def plain_filter() -> bytes:
    """Keep values with an `a`, and refuse none."""
    return compiled(walker("filter", _ONLY_A))


def upper_map(kind: str = "map", **options: object) -> bytes:
    """Make values upper case; the same refusals. As a filter_map it also drops those without an `a`."""
    keep = KEEP if kind == "map" else _ONLY_A.replace("i32.const 97", "i32.const 65")
    return compiled(walker(kind, _COMPLAIN + _UPPER + keep, **options))  # type: ignore[arg-type]


def letters() -> bytes:
    """Split a value into its bytes: an array_map."""
    return compiled(walker("array_map", _COMPLAIN + _EACH))


def counter(newest: int = 22) -> bytes:
    """Count records, the state being one character from `!` on: an aggregate that knows versions up to `newest`."""
    read = f"""
    (if (i32.gt_u (local.get $version) (i32.const {newest})) (then (return (i32.const -11))))
    (global.set $state (i32.const 32))
    (if (call $u32 (i32.sub (i32.add (local.get $input) (local.get $length)) (i32.const 4)))
      (then (global.set $state (i32.load8_u (i32.sub (i32.add (local.get $input) (local.get $length)) (i32.const 1))))))
"""
    tail = """
    (call $byte (i32.const 0)) (call $byte (i32.const 0)) (call $byte (i32.const 0)) (call $byte (i32.const 1))
    (call $byte (global.get $state))
"""
    text = walker("aggregate", _COMPLAIN + _COUNT, more="(global $state (mut i32) (i32.const 0))", tail=tail)
    return compiled(text.replace("(local.set $begin", read + "(local.set $begin", 1))


def blunt(
    kind: str = "filter",
    *,
    status: int = 0,
    output: bytes = b"\0\0\0\0\0",
    claims: int | None = None,
    body: str = "",
    init: str = "",
    look_back: str = "",
    arguments: int = 3,
    exports: str = '(memory (export "memory") 2)',
    alloc: str = '(func (export "alloc") (param i32) (result i32) (i32.const 65536))',
    library: str = "env",
    more: str = "",
) -> bytes:
    """Return a module whose `kind` gives `output` and `status` back, claiming `claims` bytes of output.

    `init` and `look_back` are the bodies of those functions, which it has only when given.
    """
    third = " i32" * (arguments - 2)
    size = len(output) if claims is None else claims
    optional = "".join(
        f'(func (export "{name}") (param $input i32) (param $length i32) (param $version i32) (result i32) {text})'
        for name, text in (("init", init), ("look_back", look_back))
        if text
    )
    return compiled(f"""(module
  (import "{library}" "copy_records" (func $copy (param i32 i32)))
  {exports}
  (data (i32.const 1024) "{_bytes(output)}")
  {alloc}
  {more}
  {optional}
  (func (export "{kind}") (param $input i32) (param $length i32) {f"(param{third})" if third else ""} (result i32)
    {body}
    (call $copy (i32.const 1024) (i32.const {size}))
    (i32.const {status})))""")


def says(status: int, output: bytes) -> str:
    """Return the body of an `init` or a `look_back` that leaves these bytes and this status."""
    stores = "".join(f"(i32.store8 (i32.const {2048 + place}) (i32.const {byte}))" for place, byte in enumerate(output))
    return f"{stores}(call $copy (i32.const 2048) (i32.const {len(output)}))(i32.const {status})"


def leaky(*, frees: bool) -> bytes:
    """Return a filter that makes a new buffer of 20 kB for each output and forgets it; `frees`: it exports dealloc."""
    dealloc = """
  (func (export "dealloc") (param $at i32) (param $size i32)
    ;; Only the last buffer can be given back, which is enough: calls come one after the other.
    (if (i32.eq (i32.add (local.get $at) (local.get $size)) (global.get $top))
      (then (global.set $top (local.get $at)))))"""
    return compiled(f"""(module
  (import "env" "copy_records" (func $copy (param i32 i32)))
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 65536))
  (func $alloc (export "alloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $top))
    (global.set $top (i32.add (global.get $top) (local.get $size)))
    (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
      (then (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))))
    (local.get $at))
  {dealloc if frees else ""}
  (func (export "map") (param $input i32) (param $length i32) (param i32) (result i32)
    (local $output i32)
    ;; The input is the guest's own to free.
    (global.set $top (local.get $input))
    (local.set $output (call $alloc (i32.const 20000)))
    (memory.fill (local.get $output) (i32.const 0) (i32.const 20000))
    (call $copy (local.get $output) (i32.const 20000))
    (i32.const 0)))""")


def bare(imports: str = "") -> bytes:
    """Return a map that does nothing, with these imports and no others."""
    return compiled(f"""(module
  {imports}
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 0)
  (func (export "map") (param i32 i32 i32) (result i32) i32.const 0))""")
