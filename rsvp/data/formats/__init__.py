"""Formats of videos beside trees of files: a module each, loaded when a source is of that kind.

`find` yields the videos of a source, `opened` gives the frames of one of them. Kinds are those of
`rsvp.config.schema.SourceKind` and `rsvp.data.sources.FORMATS`; `detect.py` tells a folder's kind
where the config names none, `rsvp.data.decoding` reads the frames.
"""
