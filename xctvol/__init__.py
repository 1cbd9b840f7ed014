"""xctvol: segment and measure X-ray CT volumes of soil and plants, out of core."""
