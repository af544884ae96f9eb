//! What a packet does where it arrives.

use std::io::ErrorKind;
use std::time::Duration;

use super::{Event, Wire};
use crate::sim::connection::{Chunk, End, EndId, Packet, Side, Stage};

impl Wire {
    pub(super) fn arrive(&mut self, now: Duration, to: EndId, packet: Packet) {
        let (Some(end), Some(other)) = (self.connections.get(to), self.connections.get(to.other())) else {
            return;
        };
        if !self.can_reach(other.addr.ip(), end.addr.ip()) {
            self.held.push(Event::Arrival(to, packet));
            return;
        }
        if !self.hosts[end.host].is_up {
            return;
        }
        self.note(now, to, &packet);
        match packet {
            Packet::Syn { pause } => self.on_syn(to, pause),
            Packet::SynAck => self.on_syn_ack(to),
            Packet::Ack => self.on_ack(to),
            Packet::Data(chunk) => self.on_data(to, chunk),
            Packet::Fin => self.on_fin(to),
            Packet::Rst => self.on_rst(to),
        }
    }

    fn note(&mut self, now: Duration, to: EndId, packet: &Packet) {
        let (kind, size) = match packet {
            Packet::Syn { .. } => (0, 0),
            Packet::SynAck => (1, 0),
            Packet::Ack => (2, 0),
            Packet::Data(chunk) => (3, chunk.size()),
            Packet::Fin => (4, 0),
            Packet::Rst => (5, 0),
        };
        let word = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.trace.add(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        self.trace.add(word(to.index) << 1 | u64::from(to.side == Side::Dialer));
        self.trace.add(word(size) << 3 | kind);
    }

    /// At the listening end. Without a listener the dial is refused; where the backlog is full the SYN is lost, and it
    /// is sent again after a pause.
    fn on_syn(&mut self, id: EndId, pause: Duration) {
        let is_dialing = |end: &End| end.stage == Stage::Dialing;
        if !self.connections.get(id.other()).is_some_and(is_dialing) {
            return;
        }
        let Some(end) = self.connections.get_mut(id) else {
            return;
        };
        let host = &mut self.hosts[end.host];
        let Some(listener) = host.listeners.get_mut(&end.addr.port()) else {
            return self.send(id, Packet::Rst);
        };
        if listener.half_open + listener.queue.len() >= host.backlog {
            let at = self.now() + pause;
            return self.plan(at, Event::Arrival(id, Packet::Syn { pause: pause * 2 }));
        }
        listener.half_open += 1;
        end.stage = Stage::HalfOpen;
        self.send(id, Packet::SynAck);
    }

    /// A dial that was called off meanwhile answers with a reset.
    fn on_syn_ack(&mut self, id: EndId) {
        let Some(end) = self.connections.get_mut(id) else {
            return;
        };
        if end.stage == Stage::Dialing {
            end.stage = Stage::Ready;
            self.woken.extend(end.reader.take());
            self.send(id, Packet::Ack);
        } else {
            self.send(id, Packet::Rst);
        }
    }

    fn on_ack(&mut self, id: EndId) {
        let Some(end) = self.connections.get_mut(id) else {
            return;
        };
        if end.stage != Stage::HalfOpen {
            return self.send(id, Packet::Rst);
        }
        end.stage = Stage::Ready;
        if let Some(listener) = self.hosts[end.host].listeners.get_mut(&end.addr.port()) {
            listener.half_open -= 1;
            listener.queue.push_back(id);
            self.woken.extend(listener.waker.take());
        }
    }

    /// What is sent to an end that is gone is answered with a reset.
    fn on_data(&mut self, id: EndId, chunk: Chunk) {
        let Some(end) = self.connections.get_mut(id) else {
            return;
        };
        match end.stage {
            Stage::Ready | Stage::Held if end.error.is_none() => {
                end.inbox.push_back(chunk);
                self.woken.extend(end.reader.take());
            }
            Stage::Closed => self.send(id, Packet::Rst),
            _ => {}
        }
    }

    fn on_fin(&mut self, id: EndId) {
        let Some(end) = self.connections.get_mut(id) else {
            return;
        };
        match end.stage {
            Stage::Ready | Stage::Held => {
                end.fin_received = true;
                self.woken.extend(end.reader.take());
            }
            // Its host was killed, and knows nothing of the connection.
            Stage::Closed if !end.fin_sent => self.send(id, Packet::Rst),
            _ => {}
        }
    }

    fn on_rst(&mut self, id: EndId) {
        let Some(end) = self.connections.get_mut(id) else {
            return;
        };
        match end.stage {
            Stage::Dialing => end.error = Some(ErrorKind::ConnectionRefused),
            Stage::Ready | Stage::Held => {
                end.error.get_or_insert(ErrorKind::ConnectionReset);
                end.inbox.clear();
            }
            Stage::HalfOpen => {
                end.stage = Stage::Closed;
                let (host, port) = (end.host, end.addr.port());
                if let Some(listener) = self.hosts[host].listeners.get_mut(&port) {
                    listener.half_open -= 1;
                }
                return self.connections.release(id);
            }
            Stage::Unborn | Stage::Closed => return,
        }
        self.woken
            .extend(end.reader.take().into_iter().chain(end.writer.take()));
    }
}
