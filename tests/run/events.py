"""Reads TensorBoard's event files, without TensorBoard."""

import struct

from tensorboardX.proto.event_pb2 import Event, SessionLog


def events_in(path):
    """The events of one file; a last one cut short, as a killed process leaves it, is left out as by TensorBoard."""
    data, events = path.read_bytes(), []
    while len(data) >= 12:
        (length,) = struct.unpack("<Q", data[:8])
        if len(data) < 12 + length + 4:
            break
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[12 + length + 4 :]
    return events


def shown(directory):
    """tag -> (step, value) in the order of TensorBoard, which drops what a restart says will come again."""
    series = {}
    for path in sorted(directory.iterdir()):
        first, *events = events_in(path)
        assert first.file_version == "brain.Event:2"
        for event in events:
            if event.session_log.status == SessionLog.START:
                for tag, points in series.items():
                    series[tag] = [(step, value) for step, value in points if step < event.step]
            for value in event.summary.value:
                series.setdefault(value.tag, []).append((event.step, value.simple_value))
    return series
