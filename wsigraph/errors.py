"""Every error that wsigraph raises on purpose.

::

    WsigraphError
    +-- ConfigError            a configuration that is unknown, out of range or unreadable
    +-- SlideError             a slide that cannot be used
    |   +-- UnreadableSlide    no reader opens the file, or its pixels do not decode
    |   |   +-- TruncatedSlide the file ends before the data it indexes
    |   |   +-- CorruptTile    the bytes of a tile are there but do not decode
    |   |   +-- ReaderLost     the process that read the file died or took too long: no verdict on the file
    |   +-- MissingMpp         no pixel size, an absurd one, or pixels that are not square
    |   +-- SlidesNotFound     a folder or glob without slides
    +-- TissueError
    |   +-- NoTissue           a slide without tissue to work on
    |   +-- NotHE              a slide that is no section in hematoxylin and eosin
    +-- RecordError            a record whose fields contradict one another
    +-- StoreError             a file that is missing, damaged or of another schema
    |   +-- DatabaseUnavailable  a job database that does not answer at the moment
    +-- PluginError            a plugin that is unknown or does not load
    +-- ModelError             a model bundle that does not fit the data
    +-- CohortError            a manifest or split with faults
    +-- ClusterError           a cluster that cannot be reached, or whose workers do not respond
    |   +-- LeaseLost          another process has taken over the slide that this one works on
    +-- SynthesisError         a request the generator cannot meet
    +-- ServiceError           a request the service refuses
        +-- NotFound           nothing of that name
        +-- NotSignedIn        no token, or one that is unknown
        +-- NotAllowed         a token whose role is not sufficient, or another origin
        +-- Conflict           a request that does not fit the current state
        +-- TooLarge           more bytes or pixels than one request may cost
        +-- TooMany            more requests, jobs or uploads than one caller may have
        +-- Unavailable        a resource that is not available at the moment

A message says what was found, what was expected and what to do. Each class takes the message alone, so that an error
can be pickled and sent back from a worker process.
"""


class WsigraphError(Exception):
    """Root of the tree; ``except WsigraphError`` catches whatever wsigraph raises on purpose."""


class ConfigError(WsigraphError):
    """A configuration that is unknown, out of range or unreadable."""


class SlideError(WsigraphError):
    """A slide that cannot be used."""


class UnreadableSlide(SlideError):
    """No reader opens the file, or its pixels do not decode."""


class TruncatedSlide(UnreadableSlide):
    """The file ends before the data that its own index names."""


class CorruptTile(UnreadableSlide):
    """The bytes of a tile are there but do not decode; a slide leaves such a tile white and goes on."""


class ReaderLost(UnreadableSlide):
    """The process that read the slide died or took too long; that may lie in the file or in the machine."""


class MissingMpp(SlideError):
    """The slide states no pixel size, one outside 0.05 to 20 um per pixel, or pixels that are not square."""


class SlidesNotFound(SlideError):
    """A folder or glob holds no slide."""


class TissueError(WsigraphError):
    """Tissue detection failed."""


class NoTissue(TissueError):
    """No tissue was found, so there is nothing to build a graph from."""


class NotHE(TissueError):
    """The slide is no section in hematoxylin and eosin; ``slide.allow_non_he`` goes on all the same."""


class RecordError(WsigraphError):
    """A record whose fields contradict one another; the message lists every fault."""


class StoreError(WsigraphError):
    """A stored record that is missing, damaged or of another schema."""


class DatabaseUnavailable(StoreError):
    """The database of jobs does not answer at the moment."""


class PluginError(WsigraphError):
    """A plugin that is unknown or does not load."""


class ModelError(WsigraphError):
    """A model bundle that is damaged or does not fit the data."""


class CohortError(WsigraphError):
    """A cohort table or split with faults."""


class ClusterError(WsigraphError):
    """A cluster that cannot be reached, or whose workers do not respond."""


class LeaseLost(ClusterError):
    """Another process has taken over the slide that this one works on."""


class SynthesisError(WsigraphError):
    """A request that the synthesis cannot meet."""


class ServiceError(WsigraphError):
    """A request that the service refuses."""


class NotFound(ServiceError):
    """There is nothing of that name."""


class NotSignedIn(ServiceError):
    """No token, or one that is unknown."""


class NotAllowed(ServiceError):
    """A token whose role is not sufficient, or a request from another origin."""


class Conflict(ServiceError):
    """The request does not fit the current state."""


class TooLarge(ServiceError):
    """More bytes or pixels than one request may cost."""


class TooMany(ServiceError):
    """More requests, jobs or uploads than one caller may have."""


class Unavailable(ServiceError):
    """A resource that is needed is not available at the moment."""
