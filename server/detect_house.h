#ifndef ELA_SERVER_DETECT_HOUSE_H_
#define ELA_SERVER_DETECT_HOUSE_H_

#include <vector>

#include "scheduler/admission.h"
#include "server/open_streams.h"
#include "server/served_detector.h"
#include "server/server_metrics.h"

namespace ela {

// What all detection calls of a server share; all outlive them.
struct DetectHouse {
  const DetectorMap& detectors;
  ServerMetrics& metrics;
  const std::vector<TenantOptions>& tenants;
  OpenStreams& streams;
};

}  // namespace ela

#endif  // ELA_SERVER_DETECT_HOUSE_H_
