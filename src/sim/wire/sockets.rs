//! What the application does with a socket, a dial or a listener.

use std::any::Any;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::task::{Poll, Waker};

use tokio::io::ReadBuf;

use super::{ListenerState, Wire};
use crate::sim::connection::{Chunk, End, EndId, MESSAGE_SIZE, Packet, Stage};

type Message = Box<dyn Any + Send>;

impl Wire {
    /// Listens on a port; answers with the address that was bound and the listener's number.
    pub(in crate::sim) fn listen(&mut self, host: usize, at: SocketAddr) -> io::Result<(SocketAddr, u64)> {
        let number = self.next_number();
        let free_port = self.ephemeral_port();
        let host = &mut self.hosts[host];
        let ip = at.ip().to_canonical();
        if !ip.is_unspecified() && ip != host.ip {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let port = match at.port() {
            0 => free_port,
            port => port,
        };
        if host.listeners.contains_key(&port) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let listener = ListenerState {
            number,
            half_open: 0,
            queue: VecDeque::new(),
            waker: None,
        };
        host.listeners.insert(port, listener);
        Ok((SocketAddr::new(at.ip(), port), number))
    }

    /// What is connecting to the listener, or waits in its backlog, is reset.
    pub(in crate::sim) fn end_listener(&mut self, host: usize, port: u16, number: u64) {
        let listeners = &mut self.hosts[host].listeners;
        if listeners.get(&port).is_none_or(|listener| listener.number != number) {
            return;
        }
        listeners.remove(&port);
        let ids: Vec<_> = self.connections.iter().map(|(id, _)| id.other()).collect();
        for id in ids {
            let is_waiting = |end: &&mut End| {
                let is_its = (end.host, end.addr.port()) == (host, port) && !end.is_accepted;
                is_its && matches!(end.stage, Stage::HalfOpen | Stage::Ready)
            };
            if let Some(end) = self.connections.get_mut(id).filter(is_waiting) {
                end.stage = Stage::Closed;
                self.send(id, Packet::Rst);
                self.connections.release(id);
            }
        }
    }

    /// The next inbound connection; `None` of a host that was killed.
    pub(in crate::sim) fn poll_accept(
        &mut self,
        host: usize,
        port: u16,
        number: u64,
        waker: &Waker,
    ) -> Poll<Option<EndId>> {
        let listener = self.hosts[host].listeners.get_mut(&port);
        let Some(listener) = listener.filter(|listener| listener.number == number) else {
            return Poll::Ready(None);
        };
        let Some(id) = listener.queue.pop_front() else {
            listener.waker = Some(waker.clone());
            return Poll::Pending;
        };
        if let Some(end) = self.connections.get_mut(id) {
            end.is_accepted = true;
        }
        Poll::Ready(Some(id))
    }

    /// The outcome of a dial. Of a host that was killed it never comes.
    pub(in crate::sim) fn poll_dial(&mut self, id: EndId, waker: &Waker) -> Poll<io::Result<SocketAddr>> {
        let now = self.now();
        let Some(end) = self.connections.get_mut(id) else {
            return Poll::Pending;
        };
        if let Some(error) = end.error {
            self.dials.at(now).refused += 1;
            end.stage = Stage::Closed;
            self.connections.release(id);
            return Poll::Ready(Err(error.into()));
        }
        if end.stage == Stage::Ready {
            self.dials.at(now).connected += 1;
            let local = end.addr;
            self.hold(id);
            return Poll::Ready(Ok(local));
        }
        end.reader = Some(waker.clone());
        Poll::Pending
    }

    /// The application has the socket from now on.
    pub(in crate::sim) fn hold(&mut self, id: EndId) {
        if let Some(end) = self.connections.get_mut(id)
            && end.stage == Stage::Ready
        {
            end.stage = Stage::Held;
            self.plan_check();
        }
    }

    /// The holder of a socket, a dial or an inbound connection lets go of it. A socket that was read to its end sends a
    /// FIN, everything else a reset.
    pub(in crate::sim) fn close(&mut self, id: EndId, resets: bool) {
        let now = self.now();
        let Some(end) = self.connections.get_mut(id) else {
            return;
        };
        let stage = mem::replace(&mut end.stage, Stage::Closed);
        let inbox = mem::take(&mut end.inbox);
        let packet = match stage {
            Stage::Dialing => {
                self.dials.at(now).unanswered += 1;
                None
            }
            Stage::Unborn | Stage::Closed => None,
            _ if end.error.is_some() => None,
            Stage::Held if resets || !inbox.is_empty() => Some(Packet::Rst),
            Stage::Held if end.fin_sent => None,
            Stage::Held => Some(Packet::Fin),
            Stage::HalfOpen | Stage::Ready => Some(Packet::Rst),
        };
        end.fin_sent |= matches!(packet, Some(Packet::Fin));
        if let Some(packet) = packet {
            self.send(id, packet);
        }
        self.connections.release(id);
    }

    /// An end that the application still has; its pending error, if it has one.
    pub(in crate::sim) fn check(&self, id: EndId) -> io::Result<&End> {
        let end = self.connections.get(id).filter(|end| end.stage != Stage::Closed);
        let end = end.ok_or_else(host_was_killed)?;
        end.error.map_or(Ok(end), |error| Err(error.into()))
    }

    fn checked(&mut self, id: EndId) -> io::Result<&mut End> {
        self.check(id)?;
        self.connections.get_mut(id).ok_or_else(host_was_killed)
    }

    /// Reads what has arrived; nothing after the other end's FIN.
    pub(in crate::sim) fn poll_read(
        &mut self,
        id: EndId,
        waker: &Waker,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.checked(id)?;
        let len = match end.inbox.front() {
            Some(Chunk::Bytes(bytes)) => {
                let len = (bytes.len() - end.read).min(buf.remaining());
                buf.put_slice(&bytes[end.read..end.read + len]);
                end.read += len;
                if end.read == bytes.len() {
                    end.inbox.pop_front();
                    end.read = 0;
                }
                len
            }
            Some(Chunk::Message(_)) => return Poll::Ready(Err(other_mode("bytes", "a message"))),
            None if end.fin_received => return Poll::Ready(Ok(())),
            None => {
                end.reader = Some(waker.clone());
                return Poll::Pending;
            }
        };
        self.on_read(id, len);
        Poll::Ready(Ok(()))
    }

    /// The next message; `None` after the other end's FIN.
    pub(in crate::sim) fn poll_receive(&mut self, id: EndId, waker: &Waker) -> Poll<io::Result<Option<Message>>> {
        let end = self.checked(id)?;
        match end.inbox.pop_front() {
            Some(Chunk::Message(message)) => {
                self.on_read(id, MESSAGE_SIZE);
                Poll::Ready(Ok(Some(message)))
            }
            Some(bytes) => {
                end.inbox.push_front(bytes);
                Poll::Ready(Err(other_mode("a message", "bytes")))
            }
            None if end.fin_received => Poll::Ready(Ok(None)),
            None => {
                end.reader = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// The other end may send that much again.
    fn on_read(&mut self, id: EndId, size: usize) {
        if let Some(other) = self.connections.get_mut(id.other()) {
            other.unread_by_other = other.unread_by_other.saturating_sub(size);
            self.woken.extend(other.writer.take());
        }
    }

    /// How much may be sent now.
    pub(in crate::sim) fn poll_room(&mut self, id: EndId, waker: &Waker) -> Poll<io::Result<usize>> {
        let end = self.checked(id)?;
        match end.room() {
            _ if end.fin_sent => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            0 => {
                end.writer = Some(waker.clone());
                Poll::Pending
            }
            room => Poll::Ready(Ok(room)),
        }
    }

    pub(in crate::sim) fn send_chunk(&mut self, id: EndId, chunk: Chunk) {
        if let Some(end) = self.connections.get_mut(id) {
            end.unread_by_other += chunk.size();
            self.send(id, Packet::Data(chunk));
        }
    }

    /// Sends a FIN, and nothing after it.
    pub(in crate::sim) fn shut_down(&mut self, id: EndId) -> io::Result<()> {
        let end = self.checked(id)?;
        if !mem::replace(&mut end.fin_sent, true) {
            self.send(id, Packet::Fin);
        }
        Ok(())
    }
}

fn host_was_killed() -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, "this host was killed")
}

fn other_mode(wanted: &str, found: &str) -> io::Error {
    let text = format!("the other end sent {found} where {wanted} was to be read");
    io::Error::new(ErrorKind::InvalidData, text)
}
