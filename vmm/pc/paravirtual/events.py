"""Event channels: a domain's ports, and what each is bound to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vmm.pc.paravirtual.interface import DOMID_SELF, PORTS, ChannelStatus, Virq
from vmm.pc.paravirtual.refusal import Errno, Refusal

if TYPE_CHECKING:
    from vmm.pc.paravirtual.domain import Domain


@dataclass(slots=True)
class Channel:
    """What a port is bound to: a domain and its port, or a virtual interrupt."""

    status: ChannelStatus
    domain: int = 0
    port: int = 0


class EventChannels:
    """The ports of one domain. Port 0 is nobody's."""

    def __init__(self, domain: Domain, domains: Mapping[int, Domain]) -> None:
        self._domain = domain
        self._domains = domains
        self.ports: dict[int, Channel] = {}

    def _own(self, domain: int) -> None:
        if domain not in (DOMID_SELF, self._domain.number):
            raise Refusal(Errno.EPERM, "another domain's ports")

    def _open(self, channel: Channel) -> int:
        port = next((p for p in range(1, PORTS) if p not in self.ports), None)
        if port is None:
            raise Refusal(Errno.ENOSPC, "all ports are in use")
        self.ports[port] = channel
        return port

    def _channel(self, port: int) -> Channel:
        channel = self.ports.get(port)
        if channel is None:
            raise Refusal(Errno.EINVAL, f"port {port} is closed")
        return channel

    def find(self, number: int) -> Domain:
        """A domain by its number; refused if there is none."""
        domain = self._domain if number == DOMID_SELF else self._domains.get(number)
        if domain is None:
            raise Refusal(Errno.ESRCH, f"no domain {number}")
        return domain

    # -- what a guest asks for ---------------------------------------------------------------

    def alloc_unbound(self, domain: int, remote: int) -> int:
        """A port that the remote domain may bind to."""
        self._own(domain)
        return self._open(Channel(ChannelStatus.UNBOUND, self.find(remote).number))

    def bind_interdomain(self, remote: int, remote_port: int) -> int:
        """Join a new port to one that another domain offers to this one."""
        other = self.find(remote)
        offered = other.events.ports.get(remote_port)
        if offered is None or offered.status is not ChannelStatus.UNBOUND:
            raise Refusal(Errno.EINVAL, "the port is not unbound")
        if offered.domain != self._domain.number:
            raise Refusal(Errno.EINVAL, "the port is offered to somebody else")
        port = self._open(Channel(ChannelStatus.INTERDOMAIN, other.number, remote_port))
        offered.status, offered.port = ChannelStatus.INTERDOMAIN, port
        self._domain.raise_event(port)  # whatever was sent before it was bound
        return port

    def bind_virq(self, virq: int, vcpu: int) -> int:
        """A port for a virtual interrupt, of which there is one at a time."""
        if virq not in list(Virq):
            raise Refusal(Errno.EINVAL, f"no virtual interrupt {virq}")
        if vcpu:
            raise Refusal(Errno.ENOENT, "there is one VCPU")
        if self.virq_port(virq) is not None:
            raise Refusal(Errno.EEXIST, "it is bound")
        return self._open(Channel(ChannelStatus.VIRQ, port=virq))

    def virq_port(self, virq: int) -> int | None:
        """Where a virtual interrupt is bound."""
        for port, channel in self.ports.items():
            if channel.status is ChannelStatus.VIRQ and channel.port == virq:
                return port
        return None

    def bind_ipi(self, vcpu: int) -> int:
        """A port by which the VCPU tells itself something."""
        if vcpu:
            raise Refusal(Errno.ENOENT, "there is one VCPU")
        return self._open(Channel(ChannelStatus.IPI))

    def close(self, port: int) -> None:
        """End a binding; the other side of it is unbound again."""
        channel = self._channel(port)
        if channel.status is ChannelStatus.INTERDOMAIN:
            other = self._domains[channel.domain].events.ports[channel.port]
            other.status, other.port = ChannelStatus.UNBOUND, 0
        del self.ports[port]
        self._domain.shared.clear(port)

    def send(self, port: int) -> None:
        """Let an event be pending on the other side."""
        channel = self._channel(port)
        if channel.status is ChannelStatus.INTERDOMAIN:
            self._domains[channel.domain].raise_event(channel.port)
        elif channel.status is ChannelStatus.IPI:
            self._domain.raise_event(port)
        elif channel.status is not ChannelStatus.UNBOUND:  # nobody listens there: it is lost
            raise Refusal(Errno.EINVAL, "nothing can be sent there")

    def unmask(self, port: int) -> None:
        """Let events through, also one that waits."""
        if not 0 < port < PORTS:
            raise Refusal(Errno.EINVAL, f"no port {port}")
        if self._domain.shared.unmask(port):
            self._domain.notice()

    def bind_vcpu(self, port: int, vcpu: int) -> None:
        """Let a port tell a VCPU, of which there is one."""
        if vcpu:
            raise Refusal(Errno.ENOENT, "there is one VCPU")
        self._channel(port)

    def status(self, domain: int, port: int) -> tuple[ChannelStatus, int, int]:
        """What a port of the caller's is: with whom, and which of its."""
        self._own(domain)
        if not 0 <= port < PORTS:
            raise Refusal(Errno.EINVAL, f"no port {port}")
        channel = self.ports.get(port, CLOSED)
        return channel.status, channel.domain, channel.port

    def reset(self, domain: int) -> None:
        """Close all."""
        self._own(domain)
        for port in list(self.ports):
            self.close(port)


CLOSED: Final = Channel(ChannelStatus.CLOSED)
