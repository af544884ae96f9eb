//! The peer table and the peer file for the benches and the fuzz targets of this repository. No part of the public
//! interface: it changes without notice.
