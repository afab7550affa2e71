"""Boards: one short file each, and what they have in common.

:mod:`boards.board` says what a board is, :mod:`boards.top` puts a storage system on it,
:mod:`boards.flow` makes the bitstream, :mod:`boards.report` reads what became of it.
"""
